# Compiles the tree of packages in tree/, and tests the compiler. `make help` lists what there is.

FLAVOR       ?= debian
TREE         ?= tree
VALUES       ?= specs/flavours/$(FLAVOR).yaml
PACKAGES     ?=
DESTINATION  ?= build
COMPRESSION  ?= zstd
MTREE        ?= 1
CONCURRENCY  ?=
BACKEND      ?=
FINAL_REPO   ?=
RELEASE_KEY  ?=
RELEASE_ROOT ?=
REPO_CACHE   ?=
BUILD_ARGS   ?=
PYTEST_ARGS  ?=
MACHINES     ?= vm
MANIFEST     ?= specs/images/cos.yaml
DISK_MANIFEST ?= specs/images/disk.yaml
DISK_FORMAT  ?= raw
DISK_LAYOUT  ?= full
IMAGE_ARGS   ?=
PUBLISH_ARGS ?=
ISO          ?= $(DESTINATION)/cOS-$(FLAVOR).iso
ACCEL        ?= tcg,thread=multi
QEMU_MEMORY  ?= 2048
QEMU_DISK    ?= $(DESTINATION)/qemu.qcow2
QEMU_ARGS    ?=
SSH_PORT     ?= 2222

VENV    := .venv/bin
COS     := $(VENV)/cos
LOCKS   := requirements.lock
DEVLOCK := requirements.lock requirements-dev.lock
PYTEST  := $(VENV)/pytest -n auto --dist loadgroup
PYTHON  := compiler tests bench scripts

# A values file for what is set on the command line of make rather than in the flavour.
CHANNEL_VALUES := $(if $(FINAL_REPO)$(RELEASE_KEY)$(RELEASE_ROOT),$(DESTINATION)/channel.values.yaml)
# What the flavour stands on; several values files: the last that names one counts.
IMAGE = $(shell sed -n 's/^image: *//p' $(VALUES) 2>/dev/null | tail -n 1)

TREE_FLAGS  = $(foreach tree,$(TREE),--tree $(tree))
BUILD_FLAGS = $(TREE_FLAGS) $(foreach file,$(VALUES) $(CHANNEL_VALUES),--values $(file)) \
    --destination $(DESTINATION) --compression $(COMPRESSION) --sbom $(if $(MTREE),--mtree) \
    $(if $(CONCURRENCY),--concurrency $(CONCURRENCY)) $(if $(BACKEND),--backend $(BACKEND)) \
    $(if $(REPO_CACHE),--image-repository $(REPO_CACHE)) $(BUILD_ARGS)

CREATE_REPO = $(COS) create-repo $(TREE_FLAGS) --packages $(DESTINATION) --output $(DESTINATION) \
    --name cos --descr 'cos-toolkit for $(FLAVOR)' --type http --tree-compression zstd --meta-compression zstd

IMAGE_FLAGS = --local $(DESTINATION) --output $(DESTINATION) --force $(IMAGE_ARGS)

.DEFAULT_GOAL := help
.PHONY: help setup setup-test agent-wheels build-tree base-image create-repo publish-repo \
    setup-image iso local-iso disk run-qemu test test-unit test-vm check format docs bench lock \
    clean distclean

help: ## Say what can be made, and which variables change it
	@echo 'Targets:'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) \
	    | while IFS='|' read -r name text; do printf '  %-13s %s\n' "$$name" "$$text"; done
	@echo
	@echo 'Variables, as in `make build-tree FLAVOR=debian`:'
	@echo '  FLAVOR       which of specs/flavours/ to build                            [$(FLAVOR)]'
	@echo '  TREE         trees to read; later ones overlay earlier ones               [$(TREE)]'
	@echo '  VALUES       values files; later ones win                                 [$(VALUES)]'
	@echo '  PACKAGES     what to build, as category/name; empty: everything           [$(PACKAGES)]'
	@echo '  DESTINATION  where artifacts and the repository go                        [$(DESTINATION)]'
	@echo '  COMPRESSION  of artifacts: none, gzip or zstd                             [$(COMPRESSION)]'
	@echo '  MTREE        metadata lists all files, for old machines; empty: it does not [$(MTREE)]'
	@echo '  CONCURRENCY  how many packages are built at a time; empty: as many as cores [$(CONCURRENCY)]'
	@echo '  BACKEND      what runs the steps; empty: the embedded engine              [$(BACKEND)]'
	@echo '  FINAL_REPO   the repository that built machines upgrade from; empty: none [$(FINAL_REPO)]'
	@echo '  RELEASE_KEY  the public key of cosign that machines trust for images      [$(RELEASE_KEY)]'
	@echo '  RELEASE_ROOT the root of keys that machines trust for FINAL_REPO          [$(RELEASE_ROOT)]'
	@echo '  REPO_CACHE   a registry that layers are shared by; empty: none            [$(REPO_CACHE)]'
	@echo '  BUILD_ARGS   further flags of `cos build`                                 [$(BUILD_ARGS)]'
	@echo '  MACHINES     which tests of test-vm: vm, or "vm and not long"                [$(MACHINES)]'
	@echo '  PYTEST_ARGS  further flags of pytest                                      [$(PYTEST_ARGS)]'
	@echo '  MANIFEST     what the ISO is made of                                      [$(MANIFEST)]'
	@echo '  DISK_MANIFEST what the disk is made of                                    [$(DISK_MANIFEST)]'
	@echo '  DISK_FORMAT  raw, qcow2, vhd, gce, vmdk, ova or vagrant                   [$(DISK_FORMAT)]'
	@echo '  DISK_LAYOUT  full, or recovery: a disk that installs the rest itself      [$(DISK_LAYOUT)]'
	@echo '  IMAGE_ARGS   further flags of `cos iso` and `cos disk`                    [$(IMAGE_ARGS)]'
	@echo '  PUBLISH_ARGS further flags of `cos create-repo` for publish-repo          [$(PUBLISH_ARGS)]'
	@echo '  ISO          the ISO that run-qemu boots; empty: what is on its disk      [$(ISO)]'
	@echo '  ACCEL        the accelerator of QEMU                                      [$(ACCEL)]'
	@echo '  QEMU_MEMORY  memory of the machine, in MiB                                [$(QEMU_MEMORY)]'
	@echo '  QEMU_DISK    its disk, made with 24 GB if it is not there                 [$(QEMU_DISK)]'
	@echo '  SSH_PORT     of this machine, which is the ssh of that one                [$(SSH_PORT)]'
	@echo '  QEMU_ARGS    further arguments of QEMU                                    [$(QEMU_ARGS)]'

setup: ## Install what building needs: system packages (as root, with apt) and .venv
	@scripts/system-packages.sh run
	@scripts/virtualenv.sh $(if $(wildcard .venv/.cos-dev),$(DEVLOCK),$(LOCKS))

setup-test: ## Install what testing needs besides
	@scripts/system-packages.sh run image machine test
	@scripts/virtualenv.sh $(DEVLOCK)
	@scripts/cosign.sh "$${COS_TEST_CACHE:-build/test-cache}" > /dev/null
	@touch .venv/.cos-dev

agent-wheels: setup ## Make the wheels that system/cos-agent installs
	@$(foreach tree,$(TREE),test ! -d $(tree)/system/cos-agent || scripts/agent-wheels.sh $(tree)/system/cos-agent/wheels;)

build-tree: setup agent-wheels base-image ## Compile TREE for FLAVOR into DESTINATION, with a repository of the results
	@mkdir -p $(DESTINATION)
	@$(if $(CHANNEL_VALUES),$(VENV)/python scripts/channel.py \
	    '$(CHANNEL_VALUES)' '$(FINAL_REPO)' '$(RELEASE_KEY)' '$(RELEASE_ROOT)',:)
	@echo 'build-tree: compiling $(or $(PACKAGES),everything) of $(TREE) for $(FLAVOR) into $(DESTINATION)/'
	$(COS) build $(BUILD_FLAGS) $(or $(PACKAGES),--all)
	$(CREATE_REPO)

base-image: setup
	@for file in $(VALUES); do test -f "$$file" \
	    || { echo "error: $$file is not there, which the flavour $(FLAVOR) is made by (specs/flavours/ has:" $(notdir $(basename $(wildcard specs/flavours/*.yaml)))")" >&2; exit 1; }; done
	@case '$(IMAGE)' in \
	debian:* | ubuntu:*) echo 'build-tree: the base system $(IMAGE), from its signed packages'; \
	    $(COS) image bootstrap $(IMAGE) ;; \
	*) echo 'build-tree: the base system $(IMAGE) is taken from the store' ;; \
	esac

create-repo: setup ## Write the repository of what is in DESTINATION
	@echo 'create-repo: the repository of $(DESTINATION)/'
	$(CREATE_REPO)

publish-repo: setup ## Push what is in DESTINATION to the registry repository FINAL_REPO
	@test -n '$(FINAL_REPO)' || { echo 'error: say where to: make publish-repo FINAL_REPO=REGISTRY/NAME' >&2; exit 2; }
	@echo 'publish-repo: pushing the packages of $(DESTINATION)/ to $(FINAL_REPO)'
	$(COS) create-repo $(TREE_FLAGS) --packages $(DESTINATION) --type docker --output $(FINAL_REPO) \
	    --name cos --descr 'cos-toolkit for $(FLAVOR)' --push-images $(PUBLISH_ARGS)

setup-image: setup
	@scripts/system-packages.sh image

iso: setup-image build-tree ## Make the ISO of FLAVOR from what build-tree leaves in DESTINATION
	@echo 'iso: the image of $(MANIFEST)'
	$(COS) iso $(MANIFEST) --name cOS-$(FLAVOR) $(IMAGE_FLAGS)

local-iso: iso

disk: setup-image build-tree ## Make the disk image of FLAVOR, in DISK_FORMAT
	@echo 'disk: the image of $(DISK_MANIFEST)'
	$(COS) disk $(DISK_MANIFEST) --name cOS-$(FLAVOR) --format $(DISK_FORMAT) --layout $(DISK_LAYOUT) $(IMAGE_FLAGS)

CDROM = -cdrom '$(ISO)' -boot order=cd,once=d

run-qemu: ## Boot ISO in QEMU with a disk of 24 GB: its console is this terminal, ctrl-a x ends it
	@test -z '$(ISO)' || test -f '$(ISO)' || { echo 'error: $(ISO) is not there; `make iso` makes it' >&2; exit 1; }
	@scripts/system-packages.sh machine
	@test -f '$(QEMU_DISK)' || qemu-img create -q -f qcow2 '$(QEMU_DISK)' 24G
	qemu-system-x86_64 -accel $(ACCEL) -m $(QEMU_MEMORY) -smp 2 -display none -serial mon:stdio \
	    -drive file='$(QEMU_DISK)',if=virtio,format=qcow2 $(if $(ISO),$(CDROM)) \
	    -nic user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:$(SSH_PORT)-:22 $(QEMU_ARGS)

test: setup-test ## Run all tests but those that boot machines; needs root or user namespaces
	@echo 'test: everything but what boots a machine'
	$(PYTEST) -m 'not vm' $(PYTEST_ARGS)

test-unit: setup-test ## Run the tests that need no network, root or container
	$(PYTEST) -m 'not container and not registry and not vm' $(PYTEST_ARGS)

test-vm: setup-test ## Run the tests that boot machines, in QEMU without KVM; needs root and patience
	@echo 'test-vm: machines that boot, install, upgrade and fall back'
	$(PYTEST) -m '$(MACHINES)' $(PYTEST_ARGS)

check: setup-test ## Check format, lint, types, imports, and that the docs are up to date
	$(VENV)/ruff format --check $(PYTHON)
	$(VENV)/ruff check $(PYTHON)
	$(VENV)/mypy $(PYTHON)
	$(VENV)/lint-imports
	$(VENV)/python scripts/document.py --check

format: setup-test ## Format the code, and put right what lint can
	$(VENV)/ruff format $(PYTHON)
	$(VENV)/ruff check --fix $(PYTHON)

docs: setup-test ## Write the parts of docs/ that are made from the code
	$(VENV)/python scripts/document.py

bench: setup-test ## Measure speed and memory: prints a table, appends to build/bench.json
	@mkdir -p build
	$(VENV)/python -m bench

lock: setup-test ## Write the lock files anew from pyproject.toml
	@scripts/lock.sh

clean: ## Remove what was built; the store of layers stays
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

distclean: clean ## Remove the store and .venv as well
	rm -rf .cos .venv *.egg-info
