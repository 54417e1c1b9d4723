// Runs everything in a runtime on the command line: portable-main.js NODE.
import process from "node:process";
import { everything } from "./portable.js";

console.log((await everything(process.argv[2]!, true)).join(", "));
