conclave_fuzzer(fuzz_json SOURCES fuzz_json.c LIBS conclave_wire)
conclave_fuzzer(fuzz_protobuf SOURCES fuzz_protobuf.c LIBS conclave_wire)
conclave_fuzzer(fuzz_recordio SOURCES fuzz_recordio.c LIBS conclave_wire)
conclave_fuzzer(fuzz_resources SOURCES fuzz_resources.c LIBS conclave_wire)
