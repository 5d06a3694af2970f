# What strangers, slips of the hand and bad disks do to a cluster of real processes.
foreach(name hostile damage under_way tls)
  add_test(NAME ${name} COMMAND python3 "${CMAKE_CURRENT_SOURCE_DIR}/${name}.py")
  set_tests_properties(${name} PROPERTIES LABELS integration TIMEOUT 120 ENVIRONMENT "CONCLAVE_BIN=$<TARGET_FILE:conclave>")
endforeach()

# Masters on small file systems of their own; needs root.
add_test(NAME disk_full COMMAND python3 "${CMAKE_CURRENT_SOURCE_DIR}/disk_full.py")
add_test(NAME agent_disk COMMAND python3 "${CMAKE_CURRENT_SOURCE_DIR}/agent_disk.py")
set_tests_properties(agent_disk PROPERTIES LABELS integration TIMEOUT 120 SKIP_RETURN_CODE 77
  ENVIRONMENT "CONCLAVE_BIN=$<TARGET_FILE:conclave>;PYTHONDONTWRITEBYTECODE=1")
set_tests_properties(disk_full PROPERTIES LABELS integration TIMEOUT 120 SKIP_RETURN_CODE 77
  ENVIRONMENT "CONCLAVE_BIN=$<TARGET_FILE:conclave>")
