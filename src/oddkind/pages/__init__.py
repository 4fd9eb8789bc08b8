"""Pages that need neither a server nor a network: what the report about files and that of the lab share."""
