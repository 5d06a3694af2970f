add_executable(agent_program agent_program.c)
target_link_libraries(agent_program PRIVATE conclave_agent)
conclave_test(test_agent_process SOURCES test_agent_process.c agent_fake_master.c LIBS conclave_agent LABEL integration
  TIMEOUT 180)
target_compile_definitions(test_agent_process PRIVATE "AGENT_PROGRAM=\"$<TARGET_FILE:agent_program>\"")
add_dependencies(test_agent_process agent_program)
