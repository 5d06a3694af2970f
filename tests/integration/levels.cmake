# Two programs in one cluster: this one, and the one that knows feature level 1 only (another object for level.c).
add_executable(conclave_old ${PROJECT_SOURCE_DIR}/src/main.c ${PROJECT_SOURCE_DIR}/src/scheduler/level.c)
target_compile_definitions(conclave_old PRIVATE CONCLAVE_LEVEL_MAX=1)
target_link_libraries(conclave_old PRIVATE conclave_cli)
add_test(NAME levels COMMAND python3 "${CMAKE_CURRENT_SOURCE_DIR}/levels.py")
set_tests_properties(levels PROPERTIES LABELS integration TIMEOUT 120
  ENVIRONMENT "CONCLAVE_BIN=$<TARGET_FILE:conclave>;CONCLAVE_OLD_BIN=$<TARGET_FILE:conclave_old>")
