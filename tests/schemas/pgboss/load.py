"""The package writes its schema by a function of its own, which Node runs."""

import subprocess
import sys

SCRIPT = """
const plans = require(process.argv[1] + '/package/src/plans.js');
const version = require(process.argv[1] + '/package/version.json').schema;
console.log(plans.create('pgboss', version));
"""
print(subprocess.run(["node", "-e", SCRIPT, sys.argv[1]], check=True, capture_output=True, text=True).stdout)
