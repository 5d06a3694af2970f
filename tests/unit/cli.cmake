conclave_test(test_cli_log SOURCES test_cli_log.c ../lib/sim_disk.c ../lib/store_node.c
  LIBS conclave_cli conclave_command_make)
conclave_test(test_cli_life SOURCES test_cli_life.c LIBS conclave_cli conclave_command_make)
conclave_test(test_cli_swap SOURCES test_cli_swap.c LIBS conclave_cli)
target_link_options(test_cli_swap PRIVATE -Wl,--wrap=rename)
