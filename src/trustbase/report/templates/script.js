(function () {
  "use strict";
  var root = document.documentElement;
  document.querySelectorAll("[hidden].tools, [hidden].filter").forEach(function (part) { part.hidden = false; });
  document.getElementById("theme").addEventListener("click", function () {
    var dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  document.getElementById("print").addEventListener("click", function () { window.print(); });
  addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (part) { part.open = true; });
  });
  var table = document.getElementById("all");
  var body = table.tBodies[0];
  document.getElementById("filter").addEventListener("change", function (event) {
    Array.prototype.forEach.call(body.rows, function (row) {
      row.hidden = event.target.value !== "" && row.dataset.dimension !== event.target.value;
    });
  });
  function key(row, column) {
    var cell = row.cells[column];
    var text = cell.dataset.value === undefined ? cell.textContent.trim() : cell.dataset.value;
    var number = Number(text.replace(/,/g, ""));
    return text === "" ? null : isNaN(number) ? text : number;
  }
  Array.prototype.forEach.call(table.tHead.rows[0].cells, function (head, column) {
    var button = document.createElement("button");
    button.type = "button";
    button.title = table.dataset.sort;
    button.textContent = head.textContent;
    head.textContent = "";
    head.appendChild(button);
    button.addEventListener("click", function () {
      var down = head.getAttribute("aria-sort") === "ascending";
      Array.prototype.forEach.call(table.tHead.rows[0].cells, function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      Array.prototype.slice.call(body.rows).sort(function (a, b) {
        var x = key(a, column), y = key(b, column);
        if (x === null || y === null) { return x === y ? 0 : x === null ? 1 : -1; }
        var order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
        return down ? -order : order;
      }).forEach(function (row) { body.appendChild(row); });
    });
  });
})();
