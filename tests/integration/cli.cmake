# The operator's tools: log, state, history, back-up, recovery.
add_test(NAME cli_log COMMAND python3 "${CMAKE_CURRENT_SOURCE_DIR}/cli_log.py")
set_tests_properties(cli_log PROPERTIES LABELS integration TIMEOUT 240 ENVIRONMENT "CONCLAVE_BIN=$<TARGET_FILE:conclave>")
