"""`tracecli ui`: a terminal application over the queries of the command line. It alone imports Textual."""
