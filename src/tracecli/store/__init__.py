"""The embedded store: usage records in one DuckDB file, bodies in Parquet files beside it.

The only package that imports duckdb. Callers see functions and `Recorded`, never SQL.

DuckDB lets one process at a time have the file open for writing, and then nobody else even for reading. So everybody
opens it for as short as possible, and waits for the others: `connection.opened`.
"""
