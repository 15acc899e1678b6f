import { posixSuite } from "./posix-suite.ts";

posixSuite("fuse-native");
