"""Files of rows: txt, jsonl, csv, parquet and Lance datasets in; parquet, jsonl and npy out. Needs pyarrow (extra ``io``).

`inputs` reads rows as Arrow batches of one schema, `outputs` writes them beside their vectors, `vectors` reads those again.
"""

from vjaccel.io.columns import VECTORS
from vjaccel.io.input_files import LANCE, input_file, is_stored, local_path
from vjaccel.io.inputs import Inputs, Rows, line_format
from vjaccel.io.lines import LINE_FORMATS, BadLine, Header, looks_like_json
from vjaccel.io.outputs import (
    Output,
    check_output,
    error_log,
    error_path,
    json_line,
    json_record,
    named_after,
    open_output,
)
from vjaccel.io.parts import Parts, check_parts, open_parts
from vjaccel.io.stored import stored_vectors
from vjaccel.io.text_rows import TEXT_ROWS, TextRows, text_rows
from vjaccel.io.vector_rows import VectorRows, as_metadata, made_by, stated_width, vector_rows
from vjaccel.io.vectors import VectorFile
from vjaccel.io.whole import remove_partial, whole_file, whole_pair

__all__ = [
    "LANCE",
    "LINE_FORMATS",
    "TEXT_ROWS",
    "VECTORS",
    "BadLine",
    "Header",
    "Inputs",
    "Output",
    "Parts",
    "Rows",
    "TextRows",
    "VectorFile",
    "VectorRows",
    "as_metadata",
    "check_output",
    "check_parts",
    "error_log",
    "error_path",
    "input_file",
    "is_stored",
    "json_line",
    "json_record",
    "line_format",
    "local_path",
    "looks_like_json",
    "made_by",
    "named_after",
    "open_output",
    "open_parts",
    "remove_partial",
    "stated_width",
    "stored_vectors",
    "text_rows",
    "vector_rows",
    "whole_file",
    "whole_pair",
]
