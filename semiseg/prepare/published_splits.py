"""The published lists of labelled and unlabelled images: where they come from and which bytes they hold."""

from typing import NamedTuple


class PublishedList(NamedTuple):
    """One list. ``target``: its place below data/splits; ``path``: its place in ``repo`` at ``commit``."""

    target: str
    repo: str
    commit: str
    path: str
    size: int  # bytes
    ids: int
    sha256: str

    @property
    def split(self) -> str:
        """Dataset and split, or the dataset alone for its validation list."""
        return self.target.rpartition("/")[0]


_U2PL = ("Haochen-Wang409/U2PL", "ab3d2be313d4d6b2885e7a0213d4fce82a803b79")
_UNIMATCH = ("LiheYoung/UniMatch", "0324f3dd4a22128105a5eb135d2586c0bb3cc647")
_AUTHORS = ("HeimingX/semi_seg_proto", "1b98ea6ba6cf8d41192eb4b36b5d056d0de02a49")

# target: (size in bytes, ids, SHA-256). Splits named *_cps are the blended VOC splits as CPS drew them.
_LISTS = {
    "cityscapes/186/labeled.txt": (12150, 186, "b325a363ec870628cbf3265bf48f9d9bf3e6e87a6e5c004ca989cda6279a0fd4"),
    "cityscapes/186/unlabeled.txt": (181290, 2789, "0adcdcf9cf5db4276dfcdba1c207b2e5439ee465102d923eff3eec61573c5393"),
    "cityscapes/372/labeled.txt": (24321, 372, "a7fa9c926a15c3983a6b2b884dc455bcfaf59ddc2cbe63f895e1d067d5a7f9b4"),
    "cityscapes/372/unlabeled.txt": (169117, 2603, "de6eeec7ec6d43403138d840e91e671af0033dc09a09cbcd14a7b872963b034f"),
    "cityscapes/744/labeled.txt": (48208, 744, "489d49d7dde31150a862dbd0aabfa8e787b9278ee51978d7d3d2c8e67d666c66"),
    "cityscapes/744/unlabeled.txt": (145232, 2231, "e7b30bf5cee9103f546818e61fd8e26eb63c3a763fdd2a45343744bb6d96618a"),
    "cityscapes/1488/labeled.txt": (96715, 1488, "1c345bd7ed630b201bc3c3cde2604dce0d65df35c142bbf35ffea8a699485488"),
    "cityscapes/1488/unlabeled.txt": (96723, 1487, "be9e936decc74da8575cd57974e3b0ed4a669317873a5748125330b7d10409dc"),
    "cityscapes/val.txt": (31949, 500, "8115b5b627fe0b24001c541804788b8c2bb16076b78ad036a9905d471abd11fd"),
    "pascal/92/labeled.txt": (1103, 92, "7feeb5314d99485739e79c385d3b70145d44dc60190acb4d5df63165c630ef6a"),
    "pascal/92/unlabeled.txt": (125879, 10490, "9ae9c7726c7e06f8ef40cddfea55911128157c5a21c3c5195074e4e45e48031f"),
    "pascal/183/labeled.txt": (2195, 183, "5dac0b72efebf63344c90c3700537e6d667c80bfa4c17205d96d459e655ec976"),
    "pascal/183/unlabeled.txt": (124787, 10399, "4a3f4c77c01bae73b342439dbb3eb9f09b102e5ca5680fcfd941785bafd0cc98"),
    "pascal/366/labeled.txt": (4391, 366, "97abd8fe7d52346b2663e6faed73e89560a171788ea0a12c012bff26c74a25d4"),
    "pascal/366/unlabeled.txt": (122591, 10216, "2cb6fe3645fa20e66653209b003e9d8b059e18bc664341515ea352eac2ef273c"),
    "pascal/662/labeled.txt": (7943, 662, "e9bb5d18af8041799389ad0c2274f043161a912837416c2c6403d9d901dee4c1"),
    "pascal/662/unlabeled.txt": (119039, 9920, "a9a7e39271779ccaacced31633d32d55a0dc27f61a451ac5e3a7a1403cdfb5af"),
    "pascal/662_cps/labeled.txt": (7944, 662, "7dada8ccc5eb6309b4b81e172dfc24f0d83ea72078675083778ca10487182748"),
    "pascal/662_cps/unlabeled.txt": (119040, 9920, "49b06340ca1534c3f15001ea9ce6d2815dd2ae1302390cfbdcfc0b004e17d960"),
    "pascal/732/labeled.txt": (8783, 732, "b2973f8d47b780e0bc53f598a51fb651c21c7485f4d02111296452abb931ce44"),
    "pascal/732/unlabeled.txt": (118199, 9850, "077f8aab596629403bb38177c3c678a17a30eb7132a38f4952237763b311a170"),
    "pascal/1323/labeled.txt": (15875, 1323, "112dcea11e1a1d211e03db87c743989ffb29c16f90ce30da7c118b3c28f8d697"),
    "pascal/1323/unlabeled.txt": (111107, 9259, "669ca8dc16acaf33a9db723d40e914f93d8d4ab5edab121148fbf30861128694"),
    "pascal/1323_cps/labeled.txt": (15876, 1323, "df63f50a798512c3befb5364052733bd8bc169f609e034e9f55b5853798ead10"),
    "pascal/1323_cps/unlabeled.txt": (111108, 9259, "b93006960bd751713dd8f5c14a148925077ba8deade79fa8591f715d7adb80e2"),
    "pascal/1464/labeled.txt": (17567, 1464, "129f1fe991729b1862115b77738c938c149c1f167baa02b4b3186aea9f0d6a84"),
    "pascal/1464/unlabeled.txt": (109415, 9118, "ba34ae09804b56761fbb46667ed6eb962a498205c068521b1105a0944f08ac40"),
    "pascal/2646/labeled.txt": (31751, 2646, "4cc769f75d69c74e4eabdb1dff7cb93ac22a4c30a9b759a7cedec3e3c6b7ed28"),
    "pascal/2646/unlabeled.txt": (95231, 7936, "4fd8e0bc7304c99ac884c6876a8f5d23ce6d9468fa55601334982ad4fa631f4f"),
    "pascal/2646_cps/labeled.txt": (31752, 2646, "62c450787069b36d88ea7bb35895a808885720ae833bae8b9c81775731062ea1"),
    "pascal/2646_cps/unlabeled.txt": (95232, 7936, "a84acda9b7087bb4595db3d023d9f546347dd7e937f4db5ce6a7146739983cb9"),
    "pascal/5291/labeled.txt": (63491, 5291, "989051b20c885ee09c37b5e5d005c067a6cd1bbcf40b06df6eb4af9e41992296"),
    "pascal/5291/unlabeled.txt": (63491, 5291, "7594c243192ee8decac87d733eb977fea16ede88f9b0cf7759c73251e7f0a82c"),
    "pascal/5291_cps/labeled.txt": (63492, 5291, "192132b4f645339dd143850359d4e27bb62ba3ce447553a07de23fbff4f0c8b9"),
    "pascal/5291_cps/unlabeled.txt": (63492, 5291, "415761b09b2b58696eadbe27d4cf09e42c495d247723d2a3267a7537fa410107"),
    "pascal/val.txt": (17387, 1449, "6f8edc37993764f6e212237d39546fb595246244147e8a050813c520aac0ade1"),
}

# UniMatch's own lists, "image mask" in a line: target -> (its path, size in bytes, ids, SHA-256). On VOC they hold the
# same images as U2PL's; on Cityscapes other ones.
_UNIMATCH_LISTS = {
    "cityscapes/186_unimatch/labeled.txt": (
        "splits/cityscapes/1_16/labeled.txt",
        24892,
        186,
        "64195914dce1231133c7dc611fece213bc3a87fe4e0b73fbd96add7dfa8a2f46",
    ),
    "cityscapes/186_unimatch/unlabeled.txt": (
        "splits/cityscapes/1_16/unlabeled.txt",
        373888,
        2789,
        "7f18e2aefb5e88598910e291a935117daaeef51c6828edeb62f8a6c882be0a79",
    ),
    "cityscapes/372_unimatch/labeled.txt": (
        "splits/cityscapes/1_8/labeled.txt",
        49839,
        372,
        "97291dfc509a8c90ee94e1c5fd1f7668c21205b995f53b963ac133f0ed96ee8e",
    ),
    "cityscapes/372_unimatch/unlabeled.txt": (
        "splits/cityscapes/1_8/unlabeled.txt",
        348939,
        2603,
        "5d7d33e39a8bda908e12d7f33ecb3299f93a8596fbe3c5e0cc1f2d3f5d358459",
    ),
    "cityscapes/744_unimatch/labeled.txt": (
        "splits/cityscapes/1_4/labeled.txt",
        99691,
        744,
        "8edd24ae817eed7b49d0a06c95b7bfaf769002c98387e4edeab5e221ab7791c3",
    ),
    "cityscapes/744_unimatch/unlabeled.txt": (
        "splits/cityscapes/1_4/unlabeled.txt",
        299087,
        2231,
        "6fc53258ed2e40f72f4a22b6e20d60a789168fdf6b860033f826e8bee3900e9b",
    ),
    "cityscapes/1488_unimatch/labeled.txt": (
        "splits/cityscapes/1_2/labeled.txt",
        199451,
        1488,
        "90d8e29d4d182c3b3def3d1fac02e454868c4ca632f73696bb521aa05e937ee4",
    ),
    "cityscapes/1488_unimatch/unlabeled.txt": (
        "splits/cityscapes/1_2/unlabeled.txt",
        199327,
        1487,
        "23d0efaa43a65608b25eb078ed058c53979957e44407d787e3abdda9a795d289",
    ),
    "pascal/92_unimatch/labeled.txt": (
        "splits/pascal/92/labeled.txt",
        5611,
        92,
        "8a02aa6a1253178b105bd25b36f0a27daeedf6b3959f399aa47d24783f3a8306",
    ),
    "pascal/92_unimatch/unlabeled.txt": (
        "splits/pascal/92/unlabeled.txt",
        639889,
        10490,
        "a3eb5ef8d2ae547f131bfa60b8111d21700d458b545741336633d5aa209254d5",
    ),
    "pascal/183_unimatch/labeled.txt": (
        "splits/pascal/183/labeled.txt",
        11162,
        183,
        "de3f4680391cb15324402dae17ac0919933d0d9004c11a641c924f3f67147f9f",
    ),
    "pascal/183_unimatch/unlabeled.txt": (
        "splits/pascal/183/unlabeled.txt",
        634338,
        10399,
        "39aa3fd2997799c57c7d68d1ab342e2ebf53224ab10c1766a9fcd1554afbfd6a",
    ),
    "pascal/366_unimatch/labeled.txt": (
        "splits/pascal/366/labeled.txt",
        22325,
        366,
        "74f6bd1e459a8b46fc204529d70b603769f8a45aef4553df8a5c04b5698e77b7",
    ),
    "pascal/366_unimatch/unlabeled.txt": (
        "splits/pascal/366/unlabeled.txt",
        623175,
        10216,
        "591c593546d1dbb65bd4d08ae99fabc1e9958d614c8079c8961422b8b7df7433",
    ),
    "pascal/732_unimatch/labeled.txt": (
        "splits/pascal/732/labeled.txt",
        44651,
        732,
        "02c8ec5b62e27364f5bc91eb95bccf54debaa721e9d31c50c07507aea258fd0f",
    ),
    "pascal/732_unimatch/unlabeled.txt": (
        "splits/pascal/732/unlabeled.txt",
        600849,
        9850,
        "8ddf828ec616b551447dc402c2c53eb7d0044697a0b6bacd6190ee843ffbf340",
    ),
    "pascal/1464_unimatch/labeled.txt": (
        "splits/pascal/1464/labeled.txt",
        89303,
        1464,
        "b20486876df309c57c8230e957b2957fff5392ff5cb11f225e8453ed6c50ba3e",
    ),
    "pascal/1464_unimatch/unlabeled.txt": (
        "splits/pascal/1464/unlabeled.txt",
        556197,
        9118,
        "3ba331d08fee0751486a8be3f9f269f9efc09faa82a32a703bbb7deda4d66544",
    ),
}


def _entry(target: str) -> PublishedList:
    repo, commit = _AUTHORS if "_cps/" in target else _U2PL
    return PublishedList(target, repo, commit, f"data/splits/{target}", *_LISTS[target])


PUBLISHED: tuple[PublishedList, ...] = (
    *map(_entry, _LISTS),
    *(PublishedList(target, *_UNIMATCH, *facts) for target, facts in _UNIMATCH_LISTS.items()),
)
