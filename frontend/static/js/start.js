// What every page does.
import { keepTimesFresh } from "./format.js";
import { startTheme } from "./theme.js";

startTheme();
keepTimesFresh();
