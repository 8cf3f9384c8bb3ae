from pathlib import Path
def surest_mistakes(p,count=12): return []
def thumbnail_name(i): return 'x.jpg'
def write_report(run): return Path(run)/'report.html'
