import { posixSuite } from "./posix-suite.ts";

posixSuite("kernel");
