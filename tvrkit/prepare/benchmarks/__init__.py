"""The published benchmarks: what their own files say, and where those lie."""

from __future__ import annotations

from tvrkit.prepare.benchmarks import activitynet, addresses, charades, didemo, lsmdc, msrvtt, msvd, vatex
from tvrkit.prepare.benchmarks.benchmark import Benchmark

__all__ = ["BENCHMARKS", "Benchmark"]

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            name="msrvtt",
            title="MSR-VTT",
            about="10,000 clips of 10 to 30 seconds from the web, in 20 categories, with 20 captions each.",
            homepage="http://ms-multimedia-challenge.com/2017/dataset",
            paper="Jun Xu, Tao Mei, Ting Yao, Yong Rui: MSR-VTT: A Large Video Description Dataset for Bridging Video"
            " and Language, CVPR 2016",
            licence="Microsoft Research released it for research. The clips are cut from YouTube videos, whose owners"
            " keep their rights; the copies on the net are not Microsoft's own.",
            by_hand="Fetch MSRVTT_Videos.zip from the hub's data set friedrichor/MSR-VTT, or MSRVTT.zip from the page"
            " of Frozen in Time (github.com/m-bain/frozen-in-time); both hold all 10,000 clips.",
            splits=msrvtt.SPLITS,
            preset="msrvtt-b32",
            read=msrvtt.read,
            annotation_files=msrvtt.ACCEPTED,
            assets=addresses.MSRVTT,
            download="2 to 6.5 GB",
        ),
        Benchmark(
            name="msvd",
            title="MSVD",
            about="1,970 clips of 1 to 60 seconds from YouTube with about 41 English captions each.",
            homepage="https://www.cs.utexas.edu/users/ml/clamp/videoDescription/",
            paper="David L. Chen, William B. Dolan: Collecting Highly Parallel Data for Paraphrase Evaluation, ACL"
            " 2011",
            licence="Microsoft Research and the University of Texas released it for research. The clips are cut from"
            " YouTube videos, whose owners keep their rights.",
            by_hand="Fetch YouTubeClips.tar from www.cs.utexas.edu/users/ml/clamp/videoDescription, or MSVD_Videos.zip"
            " from the hub's data set friedrichor/MSVD.",
            splits=msvd.SPLITS,
            preset="msvd-b32",
            read=msvd.read,
            annotation_files=msvd.ACCEPTED,
            assets=addresses.MSVD,
            download="1.7 GB",
        ),
        Benchmark(
            name="didemo",
            title="DiDeMo",
            about="10,461 personal videos from Flickr of about 30 seconds, each with a paragraph of about four"
            " descriptions.",
            homepage="https://github.com/LisaAnne/LocalizingMoments",
            paper="Lisa Anne Hendricks, Oliver Wang, Eli Shechtman, Josef Sivic, Trevor Darrell, Bryan Russell:"
            " Localizing Moments in Video with Natural Language, ICCV 2017",
            licence="The annotations come with their repository, which is under the BSD 2-clause licence. Each video is"
            " under the Creative Commons licence of its owner (video_licenses.txt there).",
            by_hand="Fetch the training videos from the hub's data set friedrichor/DiDeMo (all files"
            " DiDeMo_Videos_mp4_train.tar.part-*) or with download_videos_AWS.py of LisaAnne/LocalizingMoments.",
            splits=didemo.SPLITS,
            preset="didemo-b32",
            read=didemo.read,
            annotation_files=didemo.ACCEPTED,
            assets=addresses.DIDEMO,
        ),
        Benchmark(
            name="activitynet",
            title="ActivityNet Captions",
            about="14,926 videos from YouTube of two minutes on average, each with a paragraph of four sentences.",
            homepage="https://cs.stanford.edu/people/ranjaykrishna/densevid/",
            paper="Ranjay Krishna, Kenji Hata, Frederic Ren, Li Fei-Fei, Juan Carlos Niebles: Dense-Captioning Events"
            " in Videos, ICCV 2017",
            licence="The captions are Stanford's, for research. The videos are ActivityNet's list of YouTube videos,"
            " whose owners keep their rights; ActivityNet gives missing ones to researchers on request.",
            by_hand="Ask for the videos with the form at activity-net.org/download.html, or fetch all files"
            " ActivityNet_Videos.tar.part-* from the hub's data set friedrichor/ActivityNet_Captions.",
            splits=activitynet.SPLITS,
            preset="activitynet-b32",
            read=activitynet.read,
            annotation_files=activitynet.ACCEPTED,
            assets=addresses.ACTIVITYNET,
            download="42 GB",
        ),
        Benchmark(
            name="lsmdc",
            title="LSMDC",
            about="118,000 clips of a few seconds from 202 films, each with a sentence of its script or of its audio"
            " description.",
            homepage="https://sites.google.com/site/describingmovies/download",
            paper="Anna Rohrbach, Atousa Torabi, Marcus Rohrbach, Niket Tandon, Christopher Pal, Hugo Larochelle, Aaron"
            " Courville, Bernt Schiele: Movie Description, IJCV 2017",
            licence="Only for research, to those who signed the agreement with the Max Planck Institute for"
            " Informatics; clips and sentences may not be passed on.",
            by_hand="Sign the agreement that sites.google.com/site/describingmovies/download tells of, and fetch clips"
            " and LSMDC16_*.csv with the password that you get.",
            splits=lsmdc.SPLITS,
            preset=None,
            read=lsmdc.read,
            annotation_files=lsmdc.ACCEPTED,
        ),
        Benchmark(
            name="vatex",
            title="VATEX",
            about="28,991 clips of ten seconds from YouTube with ten English captions each (and ten Chinese ones, which"
            " are not used).",
            homepage="https://eric-xw.github.io/vatex-website/",
            paper="Xin Wang, Jiawei Wu, Junkun Chen, Lei Li, Yuan-Fang Wang, William Yang Wang: VaTeX: A Large-Scale,"
            " High-Quality Multilingual Dataset for Video-and-Language Research, ICCV 2019",
            licence="The captions are under the terms on VATEX's own pages. The clips are part of Kinetics-600, cut"
            " from YouTube videos, whose owners keep their rights.",
            by_hand="Take the clips out of Kinetics-600 (github.com/cvdfoundation/kinetics-dataset), or cut them out of"
            " their YouTube videos: ID_START_END is the video's id and the seconds.",
            splits=vatex.SPLITS,
            preset=None,
            read=vatex.read,
            annotation_files=vatex.ACCEPTED,
            assets=addresses.VATEX,
        ),
        Benchmark(
            name="charades",
            title="Charades",
            about="9,848 videos of 30 seconds in which people act a script at home; the script is the query.",
            homepage="https://prior.allenai.org/projects/charades",
            paper="Gunnar A. Sigurdsson, Gül Varol, Xiaolong Wang, Ali Farhadi, Ivan Laptev, Abhinav Gupta: Hollywood"
            " in Homes: Crowdsourcing Data Collection for Activity Understanding, ECCV 2016",
            licence="The Allen Institute for AI's licence for non-commercial use, without passing the data on"
            " (https://prior.allenai.org/projects/data/charades/license.txt).",
            by_hand="Fetch Charades_v1_480.zip, 13 GB, or the larger Charades_v1.zip from"
            " prior.allenai.org/projects/charades.",
            splits=charades.SPLITS,
            preset=None,
            read=charades.read,
            annotation_files=charades.ACCEPTED,
            assets=addresses.CHARADES,
            download="13 GB",
        ),
    )
}
