"""Whether a model refuses, and whether what it says is unsafe.

refusal     the rule-based detector behind refusal_rate (heuristic v1); calibration says how well it
            reads the replies of models that it was not fitted on
judges      models that read saved answers in a second pass
"""
