"""Installs rlhf_gap; tool settings are in pyproject.toml."""

import setuptools

setuptools.setup(
  name="rlhf-gap",
  version="0.1.0",
  description=(
    "Online against offline preference optimisation of T5 (Tang et al."
    " 2024), in JAX/Flax"
  ),
  long_description=open("README.md", encoding="utf-8").read(),
  long_description_content_type="text/markdown",
  license="Apache-2.0",
  python_requires=">=3.11",
  packages=setuptools.find_packages(include=["rlhf_gap", "rlhf_gap.*"]),
  package_data={
    "rlhf_gap": [
      "py.typed",
      "data/mini/mini.model",
      "data/mini/pretrained/*/*",
      "report/templates/*",
    ]
  },
  entry_points={"console_scripts": ["rlhf-gap=rlhf_gap.cli.main:main"]},
  install_requires=[
    "jax>=0.10.2",
    "flax>=0.12.8",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12.8",
    "tensorstore>=0.1.86",
    "gin-config>=0.5.0",
    "absl-py>=2.0",
    "etils[epath]>=1.9",
    "jinja2>=3.1",
    "jaxtyping>=0.3.11",
    "matplotlib>=3.9",
    "ml_dtypes>=0.5",
    "msgpack>=1.0",
    "msgspec>=0.19",
    "numpy>=2.0",
    "protobuf>=5",
    "pyarrow>=16",
    "safetensors>=0.8.0",
    "scipy>=1.13",
    "sentencepiece>=0.2",
    "tensorboardX>=2.6",
    "tqdm>=4.66",
  ],
  extras_require={
    # The published datasets, the miniatures and the tasks for T5X. A store of
    # one's own files, and everything that reads stores, needs none of it.
    "data": [
      "seqio>=0.0.20",
      "tensorflow>=2.21",
      "tensorflow-datasets>=4.9.10",
    ],
    "hub": ["datasets>=3.0"],
    # Where to show metrics; see gin_configs/runs/parts/tracking.gin. MLflow's
    # skinny package with what its local database needs.
    "mlflow": ["alembic>=1.13", "mlflow-skinny>=3.17", "sqlalchemy>=2.0"],
    "trackio": ["trackio>=0.43"],
    "wandb": ["wandb>=0.31"],
    "test": [
      "alembic>=1.13",
      "beartype>=0.21",
      "dill>=0.3",
      "hypothesis>=6.100",
      "import-linter>=2.16",
      "ipykernel>=7.0",
      "mlflow-skinny>=3.17",
      "mypy>=1.18",
      "nbclient>=0.10",
      "pytest>=8.0",
      "pytest-xdist>=3.6",
      "ruff>=0.14",
      "sqlalchemy>=2.0",
      "types-tqdm",
    ],
    "tpu": ["jax[tpu]>=0.10.2"],
    "gpu": ["jax[cuda13]>=0.10.2"],
    # Only to time transformers beside us; reading its files needs neither.
    "hf": ["transformers>=5.0", "torch>=2.8"],
  },
)
