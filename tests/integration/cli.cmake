# The operator's tools: log, state, history, back-up, recovery.
add_test(NAME cli_log COMMAND python3 "${CMAKE_CURRENT_SOURCE_DIR}/cli_log.py")
set_tests_properties(cli_log PROPERTIES LABELS integration TIMEOUT 240 ENVIRONMENT "CONCLAVE_BIN=$<TARGET_FILE:conclave>")
# Mistakes of operators, and the answers to them.
add_test(NAME operator COMMAND python3 "${CMAKE_CURRENT_SOURCE_DIR}/operator.py")
set_tests_properties(operator PROPERTIES LABELS integration TIMEOUT 120 ENVIRONMENT "CONCLAVE_BIN=$<TARGET_FILE:conclave>")
