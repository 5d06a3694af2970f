# Whole clusters of real processes under load.
find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)
add_test(NAME test_resilience
  COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/resilience.py --binary $<TARGET_FILE:conclave> --dir ${CMAKE_BINARY_DIR})
set_tests_properties(test_resilience PROPERTIES LABELS integration TIMEOUT 300 RUN_SERIAL ON)

# Five rounds of the failover bench: no aim is judged, but a task lost, doubled or restarted makes it red.
add_test(NAME test_failover_rounds
  COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tests/bench/bench.py failover --only conclave --rounds 5 --freezes 1 --rehearsal
    --dir ${CMAKE_BINARY_DIR}/bench)
set_tests_properties(test_failover_rounds PROPERTIES LABELS integration TIMEOUT 300 RUN_SERIAL ON
  ENVIRONMENT "CONCLAVE_BIN=$<TARGET_FILE:conclave>;PYTHONDONTWRITEBYTECODE=1")

# Connections between masters that break, and bytes that pass one way only.
add_test(NAME links COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/links.py)
set_tests_properties(links PROPERTIES LABELS integration TIMEOUT 180 RUN_SERIAL ON
  ENVIRONMENT "CONCLAVE_BIN=$<TARGET_FILE:conclave>;PYTHONDONTWRITEBYTECODE=1")
