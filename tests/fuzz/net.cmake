conclave_fuzzer(fuzz_http SOURCES fuzz_http.c LIBS conclave_net)
conclave_fuzzer(fuzz_link SOURCES fuzz_link.c LIBS conclave_net)
conclave_fuzzer(fuzz_tls SOURCES fuzz_tls.c LIBS conclave_net)
