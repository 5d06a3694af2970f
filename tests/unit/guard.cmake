conclave_test(test_entry SOURCES test_entry.c LIBS conclave_consensus)
# The switches that turn the guard's corrections off must not exist in what we ship.
add_test(NAME no_test_switches COMMAND sh -c "! nm $<TARGET_FILE:conclave> $<TARGET_FILE:conclave_consensus> | grep guard_test_")
set_tests_properties(no_test_switches PROPERTIES LABELS unit TIMEOUT 60)
conclave_test(test_guard SOURCES test_guard.c LIBS conclave_simulator)
