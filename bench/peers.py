"""What the peers do, one command a process: `python peers.py COMMAND …`. Each does the job as its documentation says to do it
fast; none is tuned against itself."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

BLOCK_BYTES = 256 * 1024
BATCH_ROWS = 64 * 1024


def parquet_batches(directory: Path) -> Iterator:
    import pyarrow.parquet as pq

    for file in sorted(directory.glob("*.parquet")):
        yield from pq.ParquetFile(file).iter_batches(BATCH_ROWS)


def connector_keys(server: str) -> dict:
    host, port = server.split(":")
    return {
        "account": "sandbox",
        "user": "SNOWMELT",
        "password": "snowmelt",
        "host": host,
        "port": int(port),
        "protocol": "http",
        "database": "TPCH",
        "schema": "PUBLIC",
        "arrow_number_to_decimal": True,  # its default rounds decimals to doubles
    }


def export_connector(options: argparse.Namespace) -> None:
    """snowflake-connector-python: result batches as Arrow tables, written by pyarrow while the next ones are fetched."""
    import pyarrow.parquet as pq
    import snowflake.connector

    with snowflake.connector.connect(**connector_keys(options.server)) as connection, connection.cursor() as cursor:
        cursor.execute(f"select * from {options.table}")
        writer = None
        for table in cursor.fetch_arrow_batches():
            if writer is None:
                writer = pq.ParquetWriter(
                    options.directory / "part.parquet", table.schema, compression="zstd", compression_level=1
                )
            # A chunk's integers may be narrower than the first one's.
            writer.write_table(table.cast(writer.schema))
        writer.close()


def export_adbc(options: argparse.Namespace) -> None:
    import adbc_driver_snowflake.dbapi as adbc
    import pyarrow.parquet as pq

    host, port = options.server.split(":")
    prefix = "adbc.snowflake.sql."
    keys = {
        "username": "SNOWMELT",
        "password": "snowmelt",
        f"{prefix}account": "sandbox",
        f"{prefix}uri.host": host,
        f"{prefix}uri.port": port,
        f"{prefix}uri.protocol": "http",
        f"{prefix}db": "TPCH",
        f"{prefix}schema": "PUBLIC",
    }
    with adbc.connect(db_kwargs=keys) as connection, connection.cursor() as cursor:
        cursor.execute(f"select * from {options.table}")
        reader = cursor.fetch_record_batch()
        with pq.ParquetWriter(
            options.directory / "part.parquet", reader.schema, compression="zstd", compression_level=1
        ) as writer:
            for batch in reader:
                writer.write_batch(batch)


def download(options: argparse.Namespace) -> None:
    """The limit of an export: every chunk's bytes, and nothing done with them."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def post(path: str, body: dict, headers: dict | None = None) -> dict:
        request = urllib.request.Request(f"http://{options.server}{path}", json.dumps(body).encode(), headers or {})
        request.add_header("Content-Type", "application/json")
        with opener.open(request) as response:
            return json.loads(response.read())["data"]

    def fetch(url: str) -> int:
        with opener.open(urllib.request.Request(url, headers=answer.get("chunkHeaders") or {})) as response:
            return len(response.read())

    login = {"ACCOUNT_NAME": "sandbox", "LOGIN_NAME": "SNOWMELT", "PASSWORD": "snowmelt", "CLIENT_APP_ID": "bench"}
    token = post("/session/v1/login-request?databaseName=TPCH&schemaName=PUBLIC", {"data": login})["token"]
    authorization = {"Authorization": f'Snowflake Token="{token}"', "Accept": "application/snowflake"}
    query = {"sqlText": f"select * from {options.table}", "asyncExec": False, "sequenceId": 1}
    answer = post(f"/queries/v1/query-request?requestId={uuid.uuid4()}", query, authorization)
    with ThreadPoolExecutor(4) as pool:
        print(sum(pool.map(fetch, [chunk["url"] for chunk in answer["chunks"]])))


# Other writers' files name and size columns as Snowflake does; the loaders want the target's.
def target_batches(options: argparse.Namespace) -> Iterator:
    import psycopg
    import pyarrow as pa

    widths = {"smallint": pa.int16(), "integer": pa.int32(), "bigint": pa.int64()}
    with psycopg.connect(options.postgres) as connection:
        rows = connection.execute(
            "select attname, format_type(atttypid, -1) from pg_attribute where attrelid = %s::regclass and attnum > 0",
            [options.table],
        ).fetchall()
    wanted = dict(rows)
    for batch in parquet_batches(options.directory):
        fields = []
        for source in batch.schema:
            name = source.name.lower()
            fields.append(pa.field(name, widths.get(wanted[name], source.type)))
        schema = pa.schema(fields)
        yield batch.rename_columns(schema.names).cast(schema)


def load_pgpq(options: argparse.Namespace) -> None:
    import psycopg
    from pgpq import ArrowToPostgresBinaryEncoder

    batches = target_batches(options)
    first = next(batches)
    encoder = ArrowToPostgresBinaryEncoder(first.schema)
    statement = f"copy {options.table} from stdin with (format binary)"
    with psycopg.connect(options.postgres) as connection, connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(encoder.write_header())
        copy.write(encoder.write_batch(first))
        for batch in batches:
            copy.write(encoder.write_batch(batch))
        copy.write(encoder.finish())


def load_adbc(options: argparse.Namespace) -> None:
    import adbc_driver_postgresql.dbapi as adbc
    import pyarrow as pa

    batches = target_batches(options)
    first = next(batches)

    def everything() -> Iterator[pa.RecordBatch]:
        yield first
        yield from batches

    with adbc.connect(options.postgres) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest(options.table, pa.RecordBatchReader.from_batches(first.schema, everything()), mode="append")
        connection.commit()


def load_duckdb(options: argparse.Namespace) -> None:
    import duckdb
    from duckdb_extensions import import_extension

    import_extension("postgres_scanner")
    connection = duckdb.connect()
    connection.execute("load postgres_scanner")
    connection.execute(f"attach '{options.postgres}' as target (type postgres)")
    connection.execute(f"insert into target.public.{options.table} select * from '{options.directory}/*.parquet'")


def load_psycopg_csv(options: argparse.Namespace) -> None:
    import psycopg
    import pyarrow.csv as csv

    class Sink:
        closed = False

        def __init__(self, copy: psycopg.Copy) -> None:
            self._copy = copy

        def write(self, data: bytes) -> int:
            self._copy.write(bytes(data))
            return len(data)

        def flush(self) -> None: ...

    statement = f"copy {options.table} from stdin with (format csv)"
    with psycopg.connect(options.postgres) as connection, connection.cursor() as cursor, cursor.copy(statement) as copy:
        sink = Sink(copy)
        for batch in parquet_batches(options.directory):
            csv.write_csv(batch, sink, csv.WriteOptions(include_header=False))


def load_polars(options: argparse.Namespace) -> None:
    """polars: write_database() with the ADBC engine, as its documentation recommends for speed."""
    import polars as pl
    import pyarrow as pa

    frame = pl.from_arrow(pa.Table.from_batches(target_batches(options)))
    frame.write_database(options.table, options.postgres, engine="adbc", if_table_exists="append")


def load_encoded(options: argparse.Namespace) -> None:
    """The limit of a load: bytes that PostgreSQL itself had written, sent back to it, over as many connections as files."""
    import psycopg

    files = sorted(options.directory.glob("*.bin"))
    freeze = ", freeze" if len(files) == 1 else ""

    def send(file: Path, truncate: bool) -> None:
        with psycopg.connect(options.postgres) as connection, connection.cursor() as cursor:
            if truncate:
                cursor.execute(f"truncate {options.table}")
            with file.open("rb") as source, cursor.copy(f"copy {options.table} from stdin with (format binary{freeze})") as copy:
                while block := source.read(BLOCK_BYTES):
                    copy.write(block)

    if len(files) == 1:
        send(files[0], True)
        return
    threads = [threading.Thread(target=send, args=(file, False)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run_dlt(options: argparse.Namespace) -> None:
    """dlt: sql_table with the pyarrow backend, as CSV files that COPY loads, the settings of its page on speed: files not
    compressed (4.5 instead of 8.0 s at scale 0.05) and split for parallel loading (4.2 s). Parquet files would go by ADBC."""
    files = {"DISABLE_COMPRESSION": "true", "FILE_MAX_ITEMS": "100000"}
    os.environ |= {f"{stage}__DATA_WRITER__{key}": value for stage in ("EXTRACT", "NORMALIZE") for key, value in files.items()}
    os.environ |= {"DLT_DATA_DIR": str(options.directory), "RUNTIME__DLTHUB_TELEMETRY": "false"}
    import dlt
    import sqlalchemy
    from dlt.common.runtime import run_context
    from dlt.sources.sql_database import sql_table

    # For root this is /var/dlt, where an id is kept although telemetry is off.
    run_context.active()._global_dir = str(options.directory)
    engine = sqlalchemy.create_engine("snowflake://SNOWMELT@sandbox/TPCH/PUBLIC", connect_args=connector_keys(options.server))
    # dlt's own statement names each column with its table, which the sandbox encodes anew; this one it has ready for all peers.
    query = sqlalchemy.text(f"select * from {options.table}")
    rows = sql_table(engine, options.table, backend="pyarrow", chunk_size=100_000, query_adapter_callback=lambda *_: query)
    # dlt insists on a password and a host, libpq takes the latter from the rest of the URI.
    target = sqlalchemy.make_url(options.postgres).set(host="localhost", password="unused")
    postgres = dlt.destinations.postgres(target.render_as_string(hide_password=False))
    dlt.pipeline("bench", destination=postgres, dataset_name="dlt").run(rows, loader_file_format="csv")
    engine.dispose()


def run_sling(options: argparse.Namespace) -> None:
    """sling: rows by a plain select (by default it unloads to a stage, which the sandbox cannot) to COPY, straight into the
    target as its documentation says for speed (without direct insert it loads a table first and copies that)."""
    from sling_linux_amd64 import SLING_BIN

    source = f"snowflake://SNOWMELT:snowmelt@{options.server}/TPCH/PUBLIC?account=sandbox&protocol=http"
    keys = {"type": "snowflake", "url": source, "database": "TPCH", "schema": "PUBLIC", "use_bulk": False}
    environment = {
        "HOME": str(options.directory),
        "SLING_HOME_DIR": str(options.directory),
        "SLING_DISABLE_TELEMETRY": "true",
        "SLING_DIRECT_INSERT": "true",
        "SOURCE": json.dumps(keys),
        "TARGET": json.dumps({"type": "postgres", "url": options.postgres}),
    }
    stream = ("--src-conn", "SOURCE", "--src-stream", f"TPCH.PUBLIC.{options.table.upper()}")
    target = ("--tgt-conn", "TARGET", "--tgt-object", f"sling.{options.table}", "--mode", "full-refresh")
    # In place of this process, so that its memory is what the benchmark sees.
    os.execve(SLING_BIN, [SLING_BIN, "run", *stream, *target], os.environ | environment)


COMMANDS = {
    "export-connector": export_connector,
    "export-adbc": export_adbc,
    "download": download,
    "load-pgpq": load_pgpq,
    "load-adbc": load_adbc,
    "load-duckdb": load_duckdb,
    "load-psycopg-csv": load_psycopg_csv,
    "load-polars": load_polars,
    "load-encoded": load_encoded,
    "run-dlt": run_dlt,
    "run-sling": run_sling,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commands", nargs="+", choices=COMMANDS)
    parser.add_argument("--server")
    parser.add_argument("--postgres")
    parser.add_argument("--table", default="lineitem")
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    for command in options.commands:
        COMMANDS[command](options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
