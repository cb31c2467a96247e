"""Handwritten alignment tables."""

import pyarrow as pa
import pyarrow.parquet as pq


def write_tokens(path, rows):
    names = ("category", "score", "sources", "weights")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    schema = pa.schema(
        [("id", pa.int32()), ("category", pa.string()), ("score", pa.float32()), ("sources", pa.list_(pa.int32())),
         ("weights", pa.list_(pa.float32()))]
    )  # fmt: skip
    pq.write_table(pa.table({"id": list(range(len(rows))), **columns}, schema=schema), path)
