"""The command `python -m dataloader.download`, from dataloader.corpora.download."""

from dataloader.corpora.download import main

if __name__ == "__main__":
    main()
