"""Builds the packaged sample `sample:census-income`: `python tools/build_census_sample.py census-income.csv.gz`.

The source is a gzipped csv of the UCI Adult data set (32,561 train and 16,281 test rows, both as published) with a header and a
`split` column, unknown values left empty. The result is one Parquet file; its SHA-256, which is printed, belongs into
`src/trustbase/data/samples/__init__.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from trustbase import files

TARGET = Path(__file__).parents[1] / "src" / "trustbase" / "data" / "samples" / "census-income.parquet"
INTEGERS = {"age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week"}
ROWS = {"train": 32_561, "test": 16_281}
LARGEST = 1_500_000


def build(source: Path, target: Path) -> str:
    """Write the sample and return its SHA-256."""
    with pa.input_stream(str(source)) as stream:
        names = stream.read().decode("utf-8").split("\n", 1)[0].strip().split(",")
    types = {name: pa.int32() if name in INTEGERS else pa.string() for name in names}
    convert = pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""])
    table = pyarrow.csv.read_csv(source, convert_options=convert)
    counts = {item["values"]: item["counts"] for item in pc.value_counts(table["split"]).to_pylist()}
    if counts != ROWS:
        raise SystemExit(f"{source}: expected the rows {ROWS}, got {counts}")
    target.parent.mkdir(parents=True, exist_ok=True)
    # dictionaries and zstd: low-cardinality columns become a few bits a row
    pq.write_table(
        table, target, compression="zstd", compression_level=19, use_dictionary=True, store_schema=False, row_group_size=len(table)
    )
    if target.stat().st_size > LARGEST:
        raise SystemExit(f"{target}: {target.stat().st_size} bytes, more than {LARGEST}")
    return files.sha256_file(target)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    print(build(Path(sys.argv[1]), TARGET), TARGET.stat().st_size, "bytes")
