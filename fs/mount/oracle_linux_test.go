package mount_test

const probeVariable = "TIDEMARK_TEST_PROBE"

func probe() {}
