conclave_fuzzer(fuzz_cli_files SOURCES fuzz_cli_files.c LIBS conclave_cli)
