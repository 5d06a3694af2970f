conclave_fuzzer(fuzz_wal SOURCES fuzz_wal.c ../lib/sim_disk.c LIBS conclave_consensus)
conclave_fuzzer(fuzz_snapshot_file SOURCES fuzz_snapshot_file.c ../lib/sim_disk.c LIBS conclave_consensus)
