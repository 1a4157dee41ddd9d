"""The pipeline's scripts and classes, by the names its users know; all of it is snowmelt's."""

from snowmelt import PostgreSQLDataLoader, SnowflakeDataExtractor, export_table, import_table

__all__ = ["PostgreSQLDataLoader", "SnowflakeDataExtractor", "export_table", "import_table"]
