/** Every field of every structure of filesystems with inline data, with extents but no checksums, with inodes of 128 bytes and deep trees. */
import { testFields } from "./fields.js";

testFields(["inline", "extents-unchecked", "deep"]);
