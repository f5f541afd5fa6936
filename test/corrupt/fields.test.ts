/** Every field of every structure of filesystems that were unmounted. More of them are in more-fields.test.ts and journal-fields.test.ts, so that processors share the work. */
import { testFields } from "./fields.js";

testFields(["checksums", "plain"]);
