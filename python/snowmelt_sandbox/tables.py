"""The directory of Parquet files that is served as databases, schemas and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from snowmelt_sandbox.sqltypes import Column, column_of_field
from snowmelt_sandbox.wire import number_carriers, number_range, unscale

_READ_ROWS = 16_384


@dataclass(frozen=True)
class DirectoryTable:
    """One ``DATABASE/SCHEMA/TABLE.parquet``."""

    database: str
    schema: str
    name: str
    path: Path
    columns: tuple[Column, ...]
    rows: int
    bytes: int
    primary_key: tuple[str, ...]
    comment: str

    @property
    def full_name(self) -> str:
        return f"{self.database}.{self.schema}.{self.name}"

    def file_names(self) -> list[str]:
        """The columns' own spelling in the file, in order."""
        return pq.read_schema(self.path).names

    def version(self) -> tuple[str, int, int]:
        """Changes when the file does: part of the key of every cached result."""
        stat = self.path.stat()
        return str(self.path), stat.st_mtime_ns, stat.st_size

    def select(self, names: Sequence[str] | None) -> list[int] | None:
        """Column positions for a select list (None = all); None when a name is unknown."""
        if names is None:
            return list(range(len(self.columns)))
        positions = {c.name: i for i, c in enumerate(self.columns)}
        return [positions[n] for n in names] if all(n in positions for n in names) else None

    def batches(self, positions: Sequence[int], limit: int | None) -> Iterator[pa.RecordBatch]:
        """The rows, streamed: one row group's pages are in memory at a time, never the table."""
        left = self.rows if limit is None else min(limit, self.rows)
        with pq.ParquetFile(self.path, pre_buffer=False) as file:
            names = file.schema_arrow.names
            wanted = [names[i] for i in positions]
            source = file.iter_batches(batch_size=_READ_ROWS, columns=list(dict.fromkeys(wanted)), use_threads=False)
            for batch in source:
                if left <= 0:
                    return
                batch = batch.slice(0, left) if batch.num_rows > left else batch
                left -= batch.num_rows
                yield pa.RecordBatch.from_arrays([_flat(batch.column(n)) for n in wanted], names=wanted)

    def arrow_schema(self, positions: Sequence[int]) -> pa.Schema:
        schema = pq.read_schema(self.path)
        return pa.table({str(i): _flat(pa.array([], schema.field(p).type)) for i, p in enumerate(positions)}).schema

    def carriers(self, positions: Sequence[int]) -> dict[int, pa.DataType]:
        """The integer width of each NUMBER for the whole table: from the file's statistics, else from a scan."""
        ranges: dict[int, tuple[int, int] | None] = {}
        with pq.ParquetFile(self.path) as file:
            for index, position in enumerate(positions):
                column = self.columns[position]
                if column.kind == "NUMBER":
                    ranges[index] = _range(file, position, column.scale or 0)
        return number_carriers([self.columns[p] for p in positions], ranges)


def _flat(array: pa.Array) -> pa.Array:
    """String views as plain strings: a slice of views cannot tell its own size, and chunks are cut by size."""
    return array.cast(pa.string()) if pa.types.is_string_view(array.type) else array


def _range(file: pq.ParquetFile, position: int, scale: int) -> tuple[int, int] | None:
    field = file.schema_arrow.field(position)
    paths = [file.metadata.schema.column(i).path for i in range(file.metadata.num_columns)]
    leaf = paths.index(field.name)
    is_integer = pa.types.is_integer(field.type)
    low: int | None = None
    high: int | None = None
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        statistics = file.metadata.row_group(group).column(leaf).statistics
        if statistics is None or (not statistics.has_min_max and statistics.null_count != rows):
            return number_range(file.read(columns=[field.name]).column(0), scale)
        if not statistics.has_min_max:
            continue
        ends = (statistics.min, statistics.max)
        small, large = ends if is_integer else (unscale(ends[0], scale), unscale(ends[1], scale))
        low = small if low is None else min(low, small)
        high = large if high is None else max(high, large)
    return None if low is None or high is None else (low, high)


def load_directory(root: Path) -> list[DirectoryTable]:
    """Every table below ``root``, ordered by name. File and directory names fold to upper case."""
    tables = []
    for path in sorted(root.glob("*/*/*.parquet")):
        if path.is_file():
            tables.append(_load(path))
    return tables


def _load(path: Path) -> DirectoryTable:
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        metadata = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items() if k.startswith(b"snowflake.")}
        key = tuple(k for k in metadata.get("snowflake.primary_key", "").split(",") if k)
        return DirectoryTable(
            database=path.parent.parent.name.upper(),
            schema=path.parent.name.upper(),
            name=path.stem.upper(),
            path=path.resolve(),
            columns=tuple(column_of_field(f) for f in schema),
            rows=file.metadata.num_rows,
            bytes=path.stat().st_size,
            primary_key=key,
            comment=metadata.get("snowflake.comment", ""),
        )


class Directory:
    """Look-up by resolved name."""

    def __init__(self, tables: Sequence[DirectoryTable]) -> None:
        self._tables = {(t.database, t.schema, t.name): t for t in tables}

    def __iter__(self) -> Iterator[DirectoryTable]:
        return iter(self._tables.values())

    def find(self, database: str | None, schema: str | None, name: str) -> DirectoryTable | None:
        return self._tables.get((database or "", schema or "", name))

    @property
    def databases(self) -> set[str]:
        return {t.database for t in self}

    @property
    def schemas(self) -> set[tuple[str, str]]:
        return {(t.database, t.schema) for t in self}
