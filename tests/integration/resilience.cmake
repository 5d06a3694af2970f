# Whole clusters of real processes under load.
find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)
add_test(NAME test_resilience
  COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/resilience.py --binary $<TARGET_FILE:conclave> --dir ${CMAKE_BINARY_DIR})
set_tests_properties(test_resilience PROPERTIES LABELS integration TIMEOUT 300 RUN_SERIAL ON)
