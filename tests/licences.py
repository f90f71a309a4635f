"""Licences, bans and forbidden crates, from `cargo metadata` alone: no network, no database."""

import json
import re
import subprocess
import sys

ALLOWED = {
    "MIT", "MIT-0", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib",
    "Unicode-3.0", "BSL-1.0", "Unlicense", "CC0-1.0", "CDLA-Permissive-2.0",
}
# A second TLS stack, or crates with an advisory that has no fix.
BANNED = {"rsa", "aws-lc-sys", "aws-lc-rs", "openssl-sys", "native-tls", "serde_yaml", "backoff", "bincode", "paste"}


def acceptable(expression: str) -> bool:
    """True where one of the alternatives of an SPDX expression is wholly allowed."""
    expression = expression.replace("/", " OR ")
    choices = re.split(r"\s+OR\s+", expression.replace("(", " ").replace(")", " ").strip())
    return any(all(part.strip() in ALLOWED for part in re.split(r"\s+AND\s+", c.strip())) for c in choices)


def main() -> int:
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    packages = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["packages"]
    wrong = []
    for package in packages:
        if package["name"] in BANNED:
            wrong.append(f"{package['name']} is banned")
        licence = package.get("license") or ""
        if not acceptable(licence):
            wrong.append(f"{package['name']} {package['version']}: licence `{licence}` is not allowed")
    for line in wrong:
        print(line)
    print(f"{len(packages)} packages looked at, {len(wrong)} faults")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
