"""The query language: `user:alice model:gpt-4* cost:>0.01 -status:200 "exact words" since:2h`. Pure.

`fields` says what can be asked for, `syntax` reads and writes queries, `sql` makes conditions of them. Nothing here
knows a database: what comes out is text of ours and parameters.
"""
