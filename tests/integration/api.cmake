# The HTTP API of three masters with agents, request by request.
find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)
add_test(NAME test_api
  COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/api.py --binary $<TARGET_FILE:conclave> --dir ${CMAKE_BINARY_DIR})
set_tests_properties(test_api PROPERTIES LABELS integration TIMEOUT 180)
