from utils.device import use_huge_pages

use_huge_pages()  # here, for it must come before the first tensor
