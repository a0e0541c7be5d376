# One environment for everything: .venv, with the pinned versions of requirements.txt.
# uv installs them; it finds (or fetches) a Python that fits when `python3` does not.
BOOT := .venv-boot
PYTHON := .venv/bin/python
export HF_HUB_OFFLINE ?= 1
# idle threads sleep: two programs on one machine must not take each other's cores
export OMP_WAIT_POLICY ?= PASSIVE
# processes that tests and notebooks run in
WORKERS ?= 2
# what renews files that are committed writes beside them, into out/, unless UPDATE=1 says that it shall replace them
KEPT := $(if $(UPDATE),data,out)

.PHONY: sound paper check test lab results report bench bench-mapper bench-metrics bench-null bench-parity \
        bench-generation bench-ablations bench-pairs bench-bridges bench-photographs bench-order bench-cost \
        bench-mutations bench-audit bench-exclusion bench-sync lock book figures classroom

ifdef IN
sound: .venv/ready  ## set up, then make a sound for IN (a picture, a video or a folder of them) in OUT
	$(PYTHON) -m v2a_utils sound "$(IN)" --out "$(or $(OUT),out)" $(if $(OUT),,--overwrite)
else
sound: .venv/ready  ## set up, then make sounds for four pictures of SoundWorld
	$(PYTHON) -m v2a_utils world --out out/world --split test --count 4 --overwrite
	$(PYTHON) -m v2a_utils sound out/world --out out --overwrite
endif

paper: .venv/ready  ## set up, fetch what the real models need, then make the sound of IN, a photograph, in OUT
	HF_HUB_OFFLINE=0 $(PYTHON) -m v2a_utils fetch --for sound $(if $(YES),--yes)
	$(PYTHON) -m v2a_utils sound "$(or $(IN),$(error name a photograph: make paper IN=photo.jpg))" --stack paper \
	    --out "$(or $(OUT),out)" $(if $(OUT),,--overwrite)

check: .venv/compiled  ## set up, then rules, types and the fast tests: two minutes and a half on two cores
	$(PYTHON) -m ruff check
	# the types, which take one core for most of a minute, beside the tests
	$(PYTHON) -m basedpyright --level error & types=$$!; \
	    OMP_NUM_THREADS=1 $(PYTHON) -m pytest -q -n $(WORKERS) --fast tests; tests=$$?; wait $$types && exit $$tests

test: .venv/compiled  ## set up, then run the tests and lessons 00 to 06; SLOW=1: all tests and all notebooks, half an hour
	# one thread each: threads that share a small model wait for each other more than they compute. The longest
	# notebooks come first, and a worker that has nothing left takes half of what the other has: none waits at the end,
	# and tests of one file, which share what they need, stay together
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -q -n $(WORKERS) --dist worksteal --nbmake --nbmake-timeout=900 --durations=40 \
	    notebooks/0[024]*.ipynb notebooks/0[1356]*.ipynb $(if $(SLOW),notebooks/0[78]*.ipynb notebooks/deeper/*.ipynb --slow) tests

.PHONY: test-browser
test-browser: .venv/ready book  ## set up, then drive JupyterLab, book and live page in the system's Chromium and Firefox; pictures: out/browser
	@[ -n "$$(command -v chromium; command -v chromium-browser; command -v google-chrome)" ] || \
	    { echo "error: no Chromium is installed, so nothing would be tested (on Debian: apt install chromium firefox-esr)"; exit 2; }
	$(BOOT)/bin/uv pip install --quiet --python $(PYTHON) "$$(sed -n 's/^browser = \["\(.*\)"\].*/\1/p' pyproject.toml)"
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -v tests/browser

lab: .venv/compiled  ## set up, then open the notebooks
	# in a container the only user is root, whom Jupyter asks for a word
	$(PYTHON) -m jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks

.PHONY: live
live: .venv/ready  ## set up, then write the page that hears pictures, the whole system in a browser: out/book/html/live
	$(BOOT)/bin/uv pip install --quiet --python $(PYTHON) -r notebooks/book/live/requirements.txt
	OMP_NUM_THREADS=1 $(PYTHON) notebooks/book/live/build.py out/book/html/live

book: .venv-book/ready live  ## a site of the executed notebooks, without running them: out/book/html/index.html
	.venv-book/bin/python notebooks/book/stage.py out/book/source
	.venv-book/bin/python -m sphinx -q -W --keep-going -b html out/book/source out/book/html
	@echo "open out/book/html/index.html"

figures: .venv/ready  ## the figures and sounds of README and book, from models and evaluation as they are
	PYTHONPATH=notebooks/book $(PYTHON) -W ignore -m showcase --out $(KEPT)/figures

results: .venv/ready  ## the evaluation that notebook 05 draws from, and the reproduction in small: many hours
	$(PYTHON) -W ignore -m v2a_utils evaluate --overwrite --out $(KEPT)/results
	$(PYTHON) -m v2a_utils world --overwrite --format vggsound --out results/world --count 3750
	$(PYTHON) -m v2a_utils world --overwrite --format imagehear --out results/world/imagehear --count 96
	$(PYTHON) -W ignore -m v2a_utils reproduce data/reproduction_mini.toml --overwrite --out $(KEPT)/results/reproduction

report: .venv/ready  ## how good the mini stack is
	$(PYTHON) -W ignore -m v2a_pretraining report --out $(KEPT)/mini/REPORT.md

classroom: .venv/ready  ## copies for a class, whole and of 45 minutes, students' with checks and teachers' with solutions: out/classroom
	$(PYTHON) notebooks/book/classroom.py

bench: .venv/ready  ## set up, then measure the extraction of embeddings
	PYTHONPATH=tests $(PYTHON) -W ignore -m benchmarks.extraction

bench-mapper: .venv/ready  ## set up, then time the mapper, against dalle2_pytorch where that is installed
	PYTHONPATH=tests $(PYTHON) -m benchmarks.mapper

bench-metrics: .venv/ready  ## set up, then time the Fréchet distance against audioldm_eval's formula
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(PYTHON) -m benchmarks.metrics $(if $(ROWS),--rows $(ROWS) --only-score)

bench-null: .venv/ready  ## set up, then count wrong verdicts where nothing differs
	PYTHONPATH=tests $(PYTHON) -m benchmarks.null

bench-parity: .venv/ready  ## set up, then hold `score` against the field's programs, those in the folder PEERS among them
	PYTHONPATH=tests:$(PEERS) $(PYTHON) -m benchmarks.parity --out $(KEPT)/results/parity.csv

bench-generation: .venv/ready  ## set up, then measure the generator's speed and what few steps cost
	PYTHONPATH=tests $(PYTHON) -W ignore -m benchmarks.generation

bench-ablations: .venv/ready  ## set up, then train the mini mappers with one ingredient changed at a time
	PYTHONPATH=tests $(PYTHON) -m benchmarks.ablations --out $(KEPT)/results/mappers.csv

bench-order: .venv/ready  ## set up, then train the mini mappers with several seeds on several worlds
	PYTHONPATH=tests $(PYTHON) -W ignore -m benchmarks.order --out $(KEPT)/results/order.csv

bench-pairs: .venv/ready  ## set up, then train the mini mappers on few and many pairs, against the bridge over words
	PYTHONPATH=tests $(PYTHON) -m benchmarks.pairs --out $(KEPT)/results/pairs.csv

bench-bridges: .venv/ready  ## set up, then compare bridges without pairs, one ingredient changed at a time
	PYTHONPATH=tests $(PYTHON) -m benchmarks.bridges --out $(KEPT)/results/bridges.csv

bench-photographs: .venv/ready  ## set up, then make a sound for every photograph of the folder IN on the mini stack
	PYTHONPATH=tests $(PYTHON) -W ignore -m benchmarks.photographs "$(IN)" $(KEPT)/results/photographs.csv

bench-cost: .venv/ready  ## set up, then measure what one item of each stage costs at the paper's sizes
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(PYTHON) -W ignore -m benchmarks.cost --out $(KEPT)/results/rates.csv

bench-sync: .venv/ready  ## set up, then measure how much of time is seen in films, and made in their sounds; an hour
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(PYTHON) -W ignore -m benchmarks.sync --out $(KEPT)/results/sync.csv
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(PYTHON) -W ignore -m benchmarks.cost --sync

bench-audit: .venv/compiled  ## set up, then give every measure known defects to find, two hours (QUICK=1: five minutes); REAL: a folder of sounds
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(PYTHON) -W ignore -m benchmarks.audit --out $(KEPT)/results \
	    $(if $(QUICK),--quick) $(if $(REAL),--real "$(REAL)")
	$(if $(QUICK)$(REAL),,PYTHONPATH=tests $(PYTHON) -m benchmarks.cards $(KEPT)/results)

bench-exclusion: .venv/ready  ## set up, then count how often what `--exclude` names is heard all the same
	PYTHONPATH=tests $(PYTHON) -W ignore -m benchmarks.exclusion

bench-mutations: .venv/ready  ## set up, then break features on purpose, one at a time, and see a test fail for each
	$(BOOT)/bin/uv pip install --quiet --python $(PYTHON) --no-deps cosmic-ray==8.7.0 stevedore==5.10.0  # breaks more
	PYTHONPATH=tests $(PYTHON) -m benchmarks.mutations

lock:  ## choose the pinned versions anew
	$(BOOT)/bin/uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-header --extra test \
	    pyproject.toml -o requirements.txt
	$(BOOT)/bin/uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate \
	    notebooks/book/requirements.in -o notebooks/book/requirements.txt
	$(BOOT)/bin/uv pip compile --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate \
	    --generate-hashes -c requirements.txt notebooks/book/live/requirements.in -o notebooks/book/live/requirements.txt

# the book's builder has an environment of its own, so that its pins and the project's do not meet
.venv-book/ready: notebooks/book/requirements.txt | $(BOOT)/bin/uv
	$(BOOT)/bin/uv venv --quiet --clear --python '>=3.11,<3.13' .venv-book
	$(BOOT)/bin/uv pip install --quiet --python .venv-book/bin/python -r notebooks/book/requirements.txt
	touch $@

$(BOOT)/bin/uv:
	python3 -m venv $(BOOT)
	$(BOOT)/bin/python -m pip install --quiet --disable-pip-version-check uv

# with UV_TORCH_BACKEND=cpu uv takes PyTorch's builds for CPUs, and the pins of CUDA's libraries are left out
.venv/ready: requirements.txt pyproject.toml | $(BOOT)/bin/uv
	$(BOOT)/bin/uv venv --quiet --clear --python '>=3.11,<3.13' .venv
	grep -vE '$(if $(filter cpu,$(UV_TORCH_BACKEND)),^(nvidia|cuda|triton)-?[a-z0-9-]*==,^$$)' requirements.txt \
	    > $(BOOT)/requirements.txt
	$(BOOT)/bin/uv pip install --quiet --python $(PYTHON) -r $(BOOT)/requirements.txt
	$(BOOT)/bin/uv pip install --quiet --python $(PYTHON) --no-deps --editable .
	# compiled once, the libraries load in half the time, in the first run as in every later one
	PYTHONDONTWRITEBYTECODE= $(PYTHON) -c "import v2a_utils.widgets, v2a_utils.metrics.gap, v2a_pretraining.report"
	touch $@

# what numba compiles for librosa, by one process: two that do so at once keep a mixture of both, which ends whoever loads it
.venv/compiled: .venv/ready
	$(PYTHON) -c "import librosa, numpy, umap; librosa.yin(numpy.ones(8000, 'f'), fmin=100, fmax=4000, sr=16000)"
	touch $@
