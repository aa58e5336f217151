"""One file per step. Each has `perform(action, inputs, out, root) -> Facts`.

`inputs` is a folder with the action's files under their pinned names, `out` an empty folder whose files become
the step's outputs, `root` the project's folder. Steps raise StepFailed; they know no store, plan or gate.
"""
