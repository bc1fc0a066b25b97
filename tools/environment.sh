# Sourced by tools/test and tools/study: creates .venv if needed and installs the
# versions in requirements.lock.
# PYTHON chooses the interpreter; by default the first of python3, python3.12 and
# python3.11 that is >= 3.11.

find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
      2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "rlhf_gap: no Python >= 3.11 found; set PYTHON=/path/to/python3" >&2
  return 2
}

make_environment() {
  local stamp=.venv/requirements.lock python
  if [ ! -x .venv/bin/python ]; then
    python=$(find_python) || return 2
    echo "making .venv with $("$python" --version)" >&2
    "$python" -m venv .venv || { rm -rf .venv; return 2; }
  fi
  # A .venv that another tool made may have no pip.
  .venv/bin/python -c "import pip" 2>/dev/null ||
    .venv/bin/python -m ensurepip >/dev/null
  if ! cmp --silent requirements.lock "$stamp"; then
    echo "installing the versions in requirements.lock" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
      --requirement requirements.lock
    cp requirements.lock "$stamp"
  fi
  # Reinstall the project when its entry points or package list change.
  if ! cmp --silent setup.py .venv/setup.py; then
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
      --no-deps --no-build-isolation --editable .
    cp setup.py .venv/setup.py
  fi
}
