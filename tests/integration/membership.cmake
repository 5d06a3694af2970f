# Masters come, go and restart under load.
find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)
add_test(NAME membership COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/membership.py --dir ${CMAKE_BINARY_DIR})
set_tests_properties(membership PROPERTIES LABELS integration TIMEOUT 240 RUN_SERIAL ON
  ENVIRONMENT "CONCLAVE_BIN=$<TARGET_FILE:conclave>;PYTHONDONTWRITEBYTECODE=1")
