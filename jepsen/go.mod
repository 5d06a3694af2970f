module conclave/jepsen

go 1.19
