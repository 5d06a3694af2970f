#include "sim.h"
const struct sim_disk_ops sim_wal_ops;
