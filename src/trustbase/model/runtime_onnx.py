"""ONNX Runtime behind the Predictor's face: one fp32 graph with two outputs, logits (of texts or of tokens) and embedding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustbase.errors import ModelError
from trustbase.model.artifact import ONNX_FILE
from trustbase.model.columns import ColumnEncoder, encode_inputs, encoder_in
from trustbase.model.encoded import Encoded, pad
from trustbase.model.pooling import pooled
from trustbase.model.runtime import Output
from trustbase.model.searching import MOST_TOKENS, SPAN, TABLES, searched
from trustbase.model.sequencer import CONTEXT, TEXT, UNITS, Sequencer
from trustbase.model.token_units import by_row, read_places

_PREFIX = "output_"  # of the names of the graph's outputs


class OnnxRuntime:
    """Runs `model.onnx` on the CPU."""

    name = "onnx"
    precision = "fp32"
    precision_reason = "the exported graph is fp32"
    path = "graph"

    def __init__(
        self,
        session: Any,
        tokenizer: Any,
        *,
        max_length: int,
        stride: int | None = None,
        form: str = TEXT,
        answer_tokens: int = MOST_TOKENS,
        encoder: ColumnEncoder | None = None,
    ) -> None:
        self._session = session
        self._encoder = encoder
        self._tokenizer = tokenizer
        self._pad_id = int(tokenizer.pad_token_id or 0)
        self._told = any(each.name == "token_type_ids" for each in session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(output.name.removeprefix(_PREFIX) for output in session.get_outputs())
        self._units, self._spans = ("unit_logits" in self.outputs), (SPAN in self.outputs)  # what is answered is not the text as a whole
        self._sequencer = Sequencer(max_length, stride, UNITS if self._units else CONTEXT if self._spans else form, answer_tokens)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        tokenizer: Any,
        max_length: int,
        precision: str = "fp32",
        device: str | None = None,
        threads: int | None = None,
        stride: int | None = None,
        form: str = TEXT,
        answer_tokens: int = MOST_TOKENS,
    ) -> OnnxRuntime:
        """Open the graph of an artefact; it is fp32 and runs on the CPU, whatever device the weights could use.

        Raises:
            ModelError: there is no graph, or ONNX Runtime refuses it.
        """
        import onnxruntime

        if precision != cls.precision:
            raise ModelError(f"{folder}: the exported graph is fp32, and {precision} was asked for", hint="open it as fp32")
        path = folder / ONNX_FILE
        if not path.is_file():
            raise ModelError(f"{folder}: artifact.json names the runtime onnx, but there is no {ONNX_FILE}", hint="make the artefact again")
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base of their own
            raise ModelError(f"{path}: ONNX Runtime refuses the graph: {error}", hint="make the artefact again") from error
        return cls(
            session, tokenizer, max_length=max_length, stride=stride, form=form, answer_tokens=answer_tokens, encoder=encoder_in(folder)
        )

    def prepare(self, inputs: Sequence[Any]) -> Encoded:
        return encode_inputs(self._tokenizer, self._encoder, inputs, self._sequencer)

    def computed_tokens(self, lengths: NDArray[np.integer]) -> int:
        return int(lengths.max()) * len(lengths)

    def forward(self, output: str, encodings: Encoded, rows: NDArray[np.int64]) -> Output:
        batch = pad(encodings, rows, self._pad_id)
        if self._told:  # a graph made for pairs wants segments in any case
            batch.setdefault("token_type_ids", np.zeros_like(batch["input_ids"]))
        else:
            batch.pop("token_type_ids", None)
        (values,) = self._session.run([_PREFIX + (SPAN if output == TABLES else output)], batch)
        values = np.asarray(values, dtype=np.float32)
        if output in (SPAN, TABLES):
            part = encodings.take(rows)
            tables = [table[:length] for table, length in zip(values, part.flat.lengths.tolist(), strict=True)]
            return searched(output, tables, part, self._sequencer.answer_tokens)
        if output != "unit_logits":
            return pooled(values, encodings, rows)
        part = encodings.take(rows)
        return by_row(part, values[read_places(part)])
