"""The acceptance ids that this project claims, one line each; tests name them by a mark."""

from __future__ import annotations

REQUIREMENTS = {
    "AK-5": "Tool calls match in four modes and three ways to compare arguments, by optimal matching.",
    "AK-12": "A long run over MCP gives its id at once, reports progress, is cancelled, is read by turns.",
    "AK-16": "The agent under test never receives the user's goal, the user's knowledge or the checks.",
    "ARE-17": "A crash, a refusal or a timeout of the agent is an error, counted apart and in no pass rate.",
    "AS-1": "Environments are created, read, listed, updated and deleted; deleting says what goes with it.",
    "AS-4": "Simulations come from the product or a covering sample of personas and scenarios, as a job.",
    "AS-5": "Single simulations are written by hand, with first message, expected output and ground truth.",
    "AS-7": "Jobs have a state, are listed, awaited and cancelled; done means completed + failed = total.",
    "AS-8": "A hardening keeps its rounds, with total, passed, failed, rate and completed, by itself.",
    "AS-9": "Hardening gives original and improved text, diff and reason; the next round goes on with it.",
    "AS-13": "An overview counts what is stored, averages pass rates, names recent and active work and models.",
    "AS-15": "`from caseharden import Workbench` offers the services that the tools call.",
    "CH-1": "One command runs the whole loop over MCP with no key and no network, and one runs the tests.",
    "CH-17": "Every answer is short and complete and names the next call; errors teach.",
    "CH-19": "A folder of files is a test suite for `caseharden run`; promotion writes back to its file.",
    "CH-20": "A baseline decides the exit code of `caseharden run`; an exported run imports again, equal.",
    "CH-21": "Runs over other instructions, models, agents or worlds are compared pair by pair, with their causes.",
}
