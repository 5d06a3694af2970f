# Masters that have forgotten, were damaged, or are wrong.
add_test(NAME forgotten COMMAND python3 "${CMAKE_CURRENT_SOURCE_DIR}/forgotten.py")
set_tests_properties(forgotten PROPERTIES LABELS integration TIMEOUT 180
  ENVIRONMENT "CONCLAVE_BIN=$<TARGET_FILE:conclave>;CONCLAVE_MUTANT_BIN=${PROJECT_BINARY_DIR}/conclave_mutant")
