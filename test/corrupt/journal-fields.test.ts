/** Every field of every structure of filesystems that were not unmounted: their journals are replayed first. */
import { testFields } from "./fields.js";

testFields(["journal", "journal-unchecked", "fast-commit"]);
