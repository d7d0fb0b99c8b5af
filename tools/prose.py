#!/usr/bin/env python3
"""Unpack Jane Austen's six novels from Debian's package r-cran-janeaustenr.

    tools/prose.py RDATA_RDB FOLDER

RDATA_RDB is the package's data/Rdata.rdb: R's lazy-load database, a row of blobs, each a length
(32 bits, big-endian) and a zlib stream that holds one serialized object. Here each object is a
character vector, one string a line of the printed book. FOLDER gets one JSONL file a novel with one
document a chapter, keys `id` and `text`: paragraphs as single lines, a blank line between two.
"""

import json
import pathlib
import re
import struct
import sys
import zlib

N_NOVELS = 6
CHARACTER_VECTOR, CHARACTER_STRING = 16, 9  # R's type codes
CHAPTER = re.compile(r"chapter (\d+|[ivxlc]+)\.?", re.IGNORECASE)
NOT_PROSE = re.compile(r"(volume [ivx]+|finis|the end)\.?", re.IGNORECASE)
BACK_MATTER = re.compile(r"a note on the text", re.IGNORECASE)


def blobs(data):
    while data:
        stream = zlib.decompressobj()
        blob = stream.decompress(data[4:])
        if struct.unpack(">I", data[:4])[0] != len(blob):
            raise ValueError("a blob's length is not as announced")
        yield blob
        data = stream.unused_data


def character_vector(blob):
    """The strings of R's serialization, format X (big-endian), version 2 or 3."""
    if blob[:2] != b"X\n":
        raise ValueError("not R's binary serialization")
    at = 14
    if struct.unpack_from(">I", blob, 2)[0] == 3:  # names its encoding
        at += 4 + struct.unpack_from(">I", blob, at)[0]
    flags, n_strings = struct.unpack_from(">II", blob, at)
    if flags & 255 != CHARACTER_VECTOR:
        raise ValueError("not a character vector")
    at += 8
    for _ in range(n_strings):
        flags, length = struct.unpack_from(">Ii", blob, at)
        if flags & 255 != CHARACTER_STRING or not 0 <= length <= len(blob) - at - 8:
            raise ValueError("not a string")
        at += 8 + length
        yield blob[at - length : at].decode("utf-8")


def chapters(lines):
    """Lists of paragraphs, one a chapter; what stands around the chapters is left out."""
    chapter, paragraph = None, []
    for line in [*lines, ""]:
        line = " ".join(line.split())  # also the two spaces after a full stop
        if BACK_MATTER.match(line):
            break
        if line and not CHAPTER.fullmatch(line) and not NOT_PROSE.fullmatch(line):
            paragraph.append(line)
            continue
        if paragraph and chapter is not None:
            chapter.append(" ".join(paragraph))
        paragraph = []
        if CHAPTER.fullmatch(line):
            if chapter:
                yield chapter
            chapter = []
    if chapter:
        yield chapter


def main(database, folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    novels = [list(character_vector(blob)) for blob in blobs(pathlib.Path(database).read_bytes())]
    if len(novels) != N_NOVELS:
        raise ValueError(f"{len(novels)} novels, not {N_NOVELS}")
    for lines in novels:
        name = lines[0].strip().lower().replace(" ", "-")
        with open(folder / f"{name}.jsonl", "w", encoding="utf-8") as file:
            for number, chapter in enumerate(chapters(lines), start=1):
                document = {"id": f"{name}/{number}", "text": "\n\n".join(chapter)}
                file.write(json.dumps(document, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (OSError, TypeError, ValueError, struct.error, zlib.error) as error:
        sys.exit(f"tools/prose.py: {error}")
