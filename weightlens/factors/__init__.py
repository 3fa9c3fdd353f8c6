"""The on-disk cache of base factorisations, shared by every command that needs one."""

from weightlens.factors.cache import CacheEntry, FactorCache, default_cache
from weightlens.factors.factorised import Factorised, factorised

__all__ = ["CacheEntry", "FactorCache", "Factorised", "default_cache", "factorised"]
