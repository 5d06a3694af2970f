# What strangers, slips of the hand and bad disks do to a cluster of real processes.
foreach(name hostile damage under_way)
  add_test(NAME ${name} COMMAND python3 "${CMAKE_CURRENT_SOURCE_DIR}/${name}.py")
  set_tests_properties(${name} PROPERTIES LABELS integration TIMEOUT 120 ENVIRONMENT "CONCLAVE_BIN=$<TARGET_FILE:conclave>")
endforeach()
